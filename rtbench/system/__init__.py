"""Measurements and resources of the operating system. This package knows no transport.

meter.py        bytes and segments of the connections of a client, from the kernel (TCP_INFO)
tls.py          the certificate of a measurement, and a socket that speaks TLS over a metered socket
owner.py        a process that ends with its owner
process.py      CPU time, memory and sockets of a process tree
load.py         the numbers that process.py reads, as a record
kernel.py       time waiting for a core, dropped connections, time waiting for a disk
placement.py    on which cores the processes of a trial run
secret.py       a secret, from a file or a variable
room.py         open files, ports and memory for many connections
source.py       further loopback addresses, where one has no port left
clock.py        the offset between the two clocks of a host
alarm.py        calls a function at a time, more punctually than an event loop does
helper.py       a process that answers JSON lines and ends with its owner; answering.py is the side that answers
direct.py       an event loop on which thousands of sockets cost little
memory.py       memory of a process that relays or measures, at the same cost in all
environment.py  the machine and the software of a measurement
doctor.py       conditions of this machine that disturb a measurement
"""
