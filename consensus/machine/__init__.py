"""The pure node: transport and groups joined behind the four verbs."""
