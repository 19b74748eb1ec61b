"""The lab: one page in a browser on which each lane is a real transport, spoken by the browser itself.

    command.py    runs it until Ctrl-C; `opened` serves it in Python
    lab.py        the lab: the servers, the links, the page, and what can be done to them while it runs
    lanes.py      the lanes: which there are, the server and the link of each
    relayed.py    how many messages of which page the servers say they relayed
    room.py       a class: who is let in, and the figures of everyone
    page_server.py  serves the page: its files, the headers that guard it, who may ask
    live.py       the connection between a page and the lab, in messages of JSON
    ladder.py     the packets of one message, read from what passed a link
    sessions.py   a session of a page as a result, and a result as a session
    page/         the page: HTML, style and ES modules as the browser loads them; page/vendor has the libraries from npm

The page measures: it publishes and receives, on one clock. The lab only starts what the page needs, breaks it on
request, and tells what the other end saw. docs/lab.md is for teachers.
"""
