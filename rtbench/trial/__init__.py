"""The processes of one trial, and how they are led.

trial.py           one variant measured once; planning.py says what each of its processes is to do
phase.py           what a trial is doing, and how long it still takes
merging.py         the records of all processes as one, on one clock; counting.py counts in it
coordinator.py     leads any number of client processes; control.py is the channel between
servers.py         where the server comes from; lives.py ends it and starts it again
server_process.py  a server in a process of its own; server_process_main.py is what runs there
breaking.py        does the faults of a trial, and collects their evidence
server_faults.py   restarts, kills and freezes the server, with evidence
publisher.py       a publisher process; pacer.py calls it when a message is due, outlets.py hands the message over
subscriber.py      a subscriber process
idle_client.py     a process of connections on which nothing is sent
one_client.py      takes one client process through its steps, for experiments without a schedule
protected_client.py  a process that opens connections to a protected server, and hears messages on them
intruder.py        a process that tries to get into a server, in one way
bystanders.py      clients that hold topic filters, and nothing else
connections.py     what the client processes share: opening connections, accounting
reconnecting.py    a client that connects again when its connection is lost
uncaught.py        exceptions of servers and clients that nobody caught
executor.py        where the client processes run
"""
