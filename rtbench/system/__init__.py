"""What the operating system tells and gives. This package knows no transport.

meter.py        bytes and segments of a client's connections, from the kernel (TCP_INFO)
tls.py          the certificate of a measurement, and a socket that speaks TLS over a metered one
process.py      CPU time, memory and sockets of a process tree; load.py has the numbers
kernel.py       waiting for a core, connections turned away, waiting for a disk
clock.py        the two clocks of a host
malloc.py       the same price of a read in every process
environment.py  what a measurement was made on
doctor.py       what on this machine spoils a measurement
"""
