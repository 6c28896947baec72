"""The rules: a file for each rule or small family. A module that is added here is found by its name."""
