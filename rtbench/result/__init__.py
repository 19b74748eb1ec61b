"""A result in memory and on disk, and what is printed of it.

result.py       what every result has, and how it grows
comparison.py   the result of a run or a comparison
idle.py         the result of idle connections
sweep.py        the result of a sweep: a comparison at each level
capacity.py     the result of a search for the highest load
security.py     the result of `rtbench security`
lab.py          a session of the lab
guarantees.py   the result of `rtbench guarantees`
laws.py         the result of the laws
storage.py      the directory of a result
schema.py       the JSON Schema of result.json
dictionary.py   the data dictionary of the documentation
report.py       the table and the sentences
forecast.py     a forecast as text and as JSON
exports.py      every delivery as CSV; hgrm.py is a distribution for HdrHistogram's plotter
"""
