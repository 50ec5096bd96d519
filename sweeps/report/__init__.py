"""Reports: the results of a sweep as one HTML file, from the tables in its run folder."""
