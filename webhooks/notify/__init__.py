"""Telling people of incidents: one policy, an outbox that outlives the process, and the ways out."""
