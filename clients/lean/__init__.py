"""The lean clients: they speak the formats straight over a socket, and cost a few microseconds a delivery.

    connection.py  a TCP or TLS connection that calls a function for each piece that arrives
    software.py    their name in a result
    mqtt.py        MQTT
    frames.py      the same over WebSocket

The clients one folder up use libraries, as an application does. These have the names, the options and the predictions
of those, and put the same bytes on the wire, apart from what docs/lean-clients.md lists.
"""
