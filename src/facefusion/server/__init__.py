"""The REST door: HTTP in front of `facefusion.service`, for one machine or a cluster.

``apps.serve`` reads settings and hands a `facefusion.server.config.ServerConfig` down; nothing here reads any.
"""
