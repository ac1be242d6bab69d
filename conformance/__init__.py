"""Whether implementations compute what the spec says: the oracle, the error measure, cases, verdicts and reports."""
