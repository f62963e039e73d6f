"""The program on a host: knows messages, not the cloud, and keeps serving when every manager is down."""
