"""What a person is told of a lab: read from its notebook, shown, and without a part in any decision."""
