"""One file a transport: how an application uses it, through the library that an application would use.

Read `polling.py`, `long_polling.py` and `sse.py` (all three on `http_session.py`), `websocket.py`, `mqtt.py`, and
`tcp.py`, the control. What only the bench needs stands beside them, and you can skip it: `metering.py` and
`mqtt_metering.py` count what goes over the connections, `sizes.py` and `http_sizes.py` compute how many bytes each
format needs, `mqtt_talk.py` speaks to a broker without a library, and
`attempts.py` tries to get past the protection of a server.
"""
