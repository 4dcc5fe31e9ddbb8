"""Attacks that search the parameters of an image enhancement, meant for the constraint `none`."""
