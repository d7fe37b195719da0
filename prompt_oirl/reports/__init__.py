"""Result tables and figures, made from judgements and CSVs."""
