"""Making trained models smaller and faster."""

from kdl.compression.flatten import flatten
