"""Sources of published weights, a table for each family."""
