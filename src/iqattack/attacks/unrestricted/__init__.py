"""Attacks that search the parameters of an enhancement, made for no box."""
