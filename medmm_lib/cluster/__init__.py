"""Runs of chapters on a cluster: manifests, what they will take, and staging on the node's own disk."""
