// Package answer has what an agent tells operators, and does for them: a type
// a subject, each of which registers its routes with the server of the status
// socket. It asks the parts of the agent and has no loop and no state of its own,
// but for the tables it shows the cluster from while etcd is away (Records).
package answer
