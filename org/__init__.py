"""The organization: who talks to whom, and the notebook they share."""
