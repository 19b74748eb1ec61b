"""The contract test: whether a transport does what `rtbench.transports.contract` says, case by case.

subject.py      what is tested: a server, a client and its options; the relay that a case talks to
case.py         what a case is, and how it says what is wrong
messages.py     the cases: what arrives, in which order, and where
connections.py  the cases: what connections count, and what is left when one ends
resuming.py     the cases: what a session keeps from one connection to the next
running.py      runs one case in this process
watching.py     runs cases in another process, and ends it where a transport blocks
"""
