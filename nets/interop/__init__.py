"""For other frameworks, a module each: `import nets.interop.torch`, `.equinox` or `.haiku`.

Each imports its framework, which nothing else here does. Install them with the extra `interop`.
"""
