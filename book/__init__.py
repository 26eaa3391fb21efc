"""What makes the book: the runner of its chapters, the claims ledger, the comparison of outputs within tolerances."""
