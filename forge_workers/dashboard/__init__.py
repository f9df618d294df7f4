"""Governance pages inside Flower: they show, and cannot act."""
