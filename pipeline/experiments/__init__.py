"""Studies of many trainings: compare, paper, sweep."""
