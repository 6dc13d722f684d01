"""`gateway doctor`: what a phone would find, from DNS to the idle socket, each with its fix.

Works against any server: it needs a domain, and where it is to go deeper, credentials. One check is one small
generator of findings; `checks.CHECKS` has them in order.
"""
