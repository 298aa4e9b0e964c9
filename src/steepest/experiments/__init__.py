"""Experiments that can be believed: many trainings with seeds, differences with intervals. Importing loads no torch."""
