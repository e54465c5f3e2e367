"""What the numbers of EXC_GUARD mean, release by release.

The tables are CSV files beside this module, one fact a row with its source; `releases` and `flavors` read
them, `generate_c` turns them into C for the receiver and the simulator, so there is one home for each number.
"""
