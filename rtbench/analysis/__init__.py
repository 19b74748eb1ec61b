"""Computations on recorded data. Pure: no socket, no clock, no process, no file, no plugin.

counts.py       the counts of a trial
measured.py     a trial with its counts and samples, and the values computed from them
ledger.py       what happened to every message: delivered, lost, duplicated ...
statistics.py   percentiles, means and ratios with their intervals over trials
disturbance.py  what outside spoiled a trial, and which trials figures are computed from
link_check.py   whether a link is the network that was asked for
layers.py       the bytes by layer, hop and direction, measured and predicted
age.py          age of information
metrics.py      every column of summary.csv and trials.csv; latencies.py and costs.py have those of time and of cost,
                metric.py says what a metric is
regimes.py      bytes, requests and age at busy and at sparse update rates
steady.py       what formats and laws predict at any update rate
ranking.py      the order of the variants, and what makes up the differences
course.py       what happened over the time of a trial: deliveries, messages under way, losses
outages.py      how long clients took to notice a fault, and to recover; recovery.py has the columns
idle.py         counts and metrics of idle connections
lab.py          counts and metrics of a session of the lab
security.py     counts and metrics of protected servers, and of the attempts to get into them
episodes.py     what each of several faults of one trial did to the messages
guarantees.py   what each transport promises, and whether it held
laws.py         the laws, and how each is checked; law_check.py says what a check is
verdict.py      whether the results of a variant are fit to conclude from
precision.py    whether more trials are needed
tiers.py        the same variant over a server of ours and over one in C
usl.py          the Universal Scalability Law fitted to throughput against load; least_squares.py fits
linear_costs.py a cost as a linear function of clients and deliveries; forecast.py predicts other loads with it
crossover.py    where the curves of two variants meet
capacity_search.py which load to try next; limiting.py says what ran out first
growth.py       whether a cost grows linearly, logarithmically or otherwise
difference.py   two results, or the variants of one result, compared by ratios
conditions.py   what must be equal for such a comparison
view.py         the parts of a result that reports, charts and comparisons read
"""
