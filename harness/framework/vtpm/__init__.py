"""The virtual TPM of a pod: instance, the service that runs instances, and the attested channel."""
