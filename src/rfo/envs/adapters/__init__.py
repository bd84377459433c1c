"""Our tasks as other libraries' trainers know environments."""
