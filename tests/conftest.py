"""Having this file puts tests/ on the import path: helpers that several kinds of tests share."""
