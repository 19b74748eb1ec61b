"""Numbers computed from numbers. Pure: no socket, no clock, no process, no file, no plugin.

counts.py       what a trial counted; measured.py has it with its samples
ledger.py       the fate of every message
statistics.py   figures with their intervals over trials
layers.py       the bytes by layer, measured and predicted
age.py          age of information
metrics.py      every column of summary.csv and trials.csv, in one place
idle.py         counts and columns of idle connections
verdict.py      whether a run is fit to conclude from
precision.py    whether more trials are needed
difference.py   two results, or the variants of one, by ratios
conditions.py   what must be alike for that
view.py         what of a result the readers of it need
"""
