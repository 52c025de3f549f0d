"""The study of rules: every rule on the same networks and data, its learning rate chosen on a validation part."""
