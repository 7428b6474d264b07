raise ModuleNotFoundError("No module named 'tensorflow' (hidden by the tests)", name="tensorflow")
