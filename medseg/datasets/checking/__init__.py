"""What is wrong with a training dataset: facts of each case, findings within and across cases, a sheet."""
