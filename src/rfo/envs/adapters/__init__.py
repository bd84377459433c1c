"""Our tasks as environments of other libraries."""
