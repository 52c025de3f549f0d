"""The paper's tasks, and each of its tables and figures."""
