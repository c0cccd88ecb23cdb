// gloo_other_version: a module that claims to be the gloo plug-in of another rueda.
extern "C" const char* rueda_gloo_abi();
extern "C" const char* rueda_gloo_abi() { return "0.0.0-other"; }
