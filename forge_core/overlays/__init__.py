"""The register of overlays."""
