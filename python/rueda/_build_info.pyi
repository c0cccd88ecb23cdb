torch_version: str
gloo_built: bool
