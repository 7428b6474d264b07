"""Blocks of networks, a layer each."""
