"""Links: the network between clients and server, emulated without root, with faults that leave evidence.

`link.py` says what every link does, `choice.py` which one is taken. There are two kinds:

    packet_link.py   Linux: server and clients live in two network namespaces, and a relay between them delays and drops
                     the packets themselves; TCP is that of the kernel, and sends again what was dropped.
                     packet_relay.py is the process that does it, with packet_faults.py; namespaces.py and tun.py are
                     what it asks of the kernel; packets.py reads and builds packets; delay_queue.py is one direction
    stream_link.py   everywhere: a relay of TCP connections that delays their bytes. stream_relay.py is the process that
                     does it, stream_line.py computes when bytes arrive, timeline.py calls what is due; trace.py notes
                     what passes

`measure.py` measures a link from outside, before each trial; `witness.py` sees its faults, during it. Both use
`probe.py`, a process at one side of the link.
"""
