"""The thin library under the medmm report: what two chapters share, or what must be tested."""
