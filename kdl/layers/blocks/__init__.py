"""Building blocks of networks, a composite layer each."""
