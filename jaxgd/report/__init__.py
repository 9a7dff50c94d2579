"""Pages about results, made from the files that the command line writes."""
