"""One file a transport: how a server delivers messages in each of them, from the same feed.

Read `polling.py`, `long_polling.py` and `sse.py` (all three on `http_relay.py`), `websocket.py`, `mqtt.py` (with
`mqtt_connection.py`, `mqtt_silence.py`, `mqtt_session.py` and `mqtt_topics.py`), and `tcp.py`, the control.
`mosquitto.py` and `nchan.py` run programs that others wrote, MQTT by mosquitto and the rest by nginx with nchan;
`program.py` starts and ends them.
"""
