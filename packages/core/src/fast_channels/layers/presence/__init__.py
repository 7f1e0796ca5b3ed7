"""Who is in a group: one implementation for every broker, over topics alone.

``tracker`` is one node's part. What it is made of: ``wire`` (what nodes tell each other),
``roster`` (one group's members), ``peers`` (which nodes live), ``questions`` (asked, and not yet
answered), ``announcer`` (what this node says); ``views`` are the methods of a layer.
"""
