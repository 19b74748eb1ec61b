"""What is asked for, before anything runs. Pure: no socket, no clock, no process, no file.

settings.py   every option once, with its type, default and help
workload.py   who publishes what to whom
schedule.py   when each message is due
payload.py    the content of every message
variant.py    a transport with everything about it fixed
records.py    every publish and every delivery of a trial, as columns
"""
