"""Runs of chapters on a cluster: manifests, and what they will take."""
