"""What is to be measured, before anything runs. Pure: no socket, no clock, no process, no file.

settings.py   every option, with its type, default and help
values.py     how a value is read, and its limits
workload.py   how many publishers and subscribers, which topics, which rate and size
schedule.py   when each message is due
login.py      with what a client enters a server that runs already
protection.py what stands between a server and its clients, and the ways to try to get past it
network.py    what lies between clients and server
faults.py     what is broken on purpose, and the evidence that it was
episodes.py   the same fault several times in a trial
reconnect.py  what a client does when its connection is lost
sweep.py      what a sweep varies, and over which values
objective.py  what a server must keep to
payload.py    the content of every message
variant.py    a transport with its server, its client and its options
clients.py    which kind of client a measurement takes, where the user leaves it open
laws.py       the set-ups in which the laws are measured
records.py    every publish and every delivery of a trial, as columns
"""
