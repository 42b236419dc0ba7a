"""Tools for agents: the Model Context Protocol (MCP) over streamable HTTP."""
