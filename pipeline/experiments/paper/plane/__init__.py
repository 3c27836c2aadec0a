"""The dressed circuit alone, on points in the plane."""
